"""Reviews in and out of files: any format, encoding and compression."""
