"""What is learned? Tasks: data, model, loss and metric."""
