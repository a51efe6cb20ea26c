"""sealwax: a self-hosted email sending platform."""
