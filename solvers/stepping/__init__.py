"""Steppers that Diffrax lacks: for stiff equations, with algebraic ones among them."""
