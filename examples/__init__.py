"""Programs that show how runnel-trio is used; each has a README."""
