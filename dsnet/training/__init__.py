"""What `dsnet.train` is made of; each module's docstring starts with its signatures."""
