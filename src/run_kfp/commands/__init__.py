"""What each command does: a file is called as its command is, `cli` has their flags."""
