-- How the file of a part is read (delimiter, header, encoding, …) as JSON; null for parts of 0.1.
ALTER TABLE dataset_parts ADD COLUMN read_as TEXT;
