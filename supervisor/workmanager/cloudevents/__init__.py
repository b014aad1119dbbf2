"""Generated from proto/workmanager/cloudevents by `make proto`; import its modules."""
