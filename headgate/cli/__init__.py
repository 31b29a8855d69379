"""The command line, one thin module for each command. Floor 6: reads everything, is read by nothing."""
