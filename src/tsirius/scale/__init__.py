"""More reviews than one machine reads: parts of them, each predicted on its own, and the engines that run the parts."""
