"""The agent: perceive, plan, run experts, judge, roll back, and leave a trace."""
