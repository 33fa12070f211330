"""What the commands do: one module per command or shared part; imported when a command is called."""
