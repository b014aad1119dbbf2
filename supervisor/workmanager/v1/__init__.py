"""Generated from proto/workmanager/v1 by `make proto`; import its modules."""
