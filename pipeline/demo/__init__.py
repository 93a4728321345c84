"""The demo: real digits as a user's folder, and the incident that this product ends, replayed."""
