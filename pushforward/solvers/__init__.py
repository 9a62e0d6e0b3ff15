"""Solvers: Runge-Kutta methods as data, and their steps over rows, each with a time, a step and an error of its own."""
