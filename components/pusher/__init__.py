"""Pusher: publishes the judged bytes of an accepted model as an immutable, numbered release."""
