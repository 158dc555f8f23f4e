"""What each graph takes and gives, and the bundles that hold them.  Standard library only."""
