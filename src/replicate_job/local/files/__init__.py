"""Files of predictions: uploads, inputs from elsewhere, and outputs."""
