"""The library that processors share; it defines no ps_type and imports no processor's folder."""
