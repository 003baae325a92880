"""What `make course` measures: every lane in its real engine, and the libraries beside ours."""
