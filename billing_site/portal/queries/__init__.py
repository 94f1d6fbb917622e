"""What the portal's pages show: one query function a page."""
