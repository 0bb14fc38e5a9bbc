"""Esfahanian and Akhavan (2019): training convolutional networks genetically."""
