-- Which record of the shared registry this copy of a worker is; '': none, it is of this host alone.

ALTER TABLE worker ADD COLUMN stamp TEXT NOT NULL DEFAULT '';
