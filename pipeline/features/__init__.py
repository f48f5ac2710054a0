"""From bands to the features that are clustered."""
