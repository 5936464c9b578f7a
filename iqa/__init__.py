"""Quality metrics, the score that Q-MoE ranks by, and the degradation estimator."""
