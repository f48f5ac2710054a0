"""What a fit makes: class centres, and all that is needed to use them on another scene."""
