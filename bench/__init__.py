"""What requests cost: `python -m bench`, or `./build.sh bench`."""
