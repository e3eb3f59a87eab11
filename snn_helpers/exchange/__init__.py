"""Networks on their way out and in: streams of events, NIR, ONNX, and weights of few bits."""
