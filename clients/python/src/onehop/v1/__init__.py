"""The messages and stubs of the services, made by generate.sh."""
