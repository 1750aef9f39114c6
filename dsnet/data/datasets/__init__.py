"""One data set a file: what lies on disk becomes crops, marks and masks."""
