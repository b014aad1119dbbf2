"""Generated from proto/workmanager/cloudevents/v1 by `make proto`; import its modules."""
