"""Running the product: the environment it is installed into, and the processes it consists of."""
