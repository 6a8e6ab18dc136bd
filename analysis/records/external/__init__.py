"""Records that come from elsewhere: tables that people made, instead of a collected folder."""
