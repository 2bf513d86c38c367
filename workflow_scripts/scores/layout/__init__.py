"""The scores as mteb keeps them: apart, so that a change of its layout makes no score again."""
