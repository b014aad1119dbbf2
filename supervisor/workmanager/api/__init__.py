"""The doors: REST, authentication, CloudEvents over HTTP."""
