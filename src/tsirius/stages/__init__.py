"""The road, one file a stage. A stage meets the others only through the tables and files in its folder."""
