"""The models of img2img-gan, and the sample of its quickstart. There is no code here."""
