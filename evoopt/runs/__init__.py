"""What remains of a run? Its folder."""
