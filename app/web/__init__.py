"""What every answer needs: errors, security, templates, metrics."""
