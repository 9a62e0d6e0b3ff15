"""What is written from the code: one file here for each, and one command, ``python -m scripts.generated``, which `make generated` calls."""
