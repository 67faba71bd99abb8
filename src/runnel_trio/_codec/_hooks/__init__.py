"""The hooks of cattrs converters: how the values of each type are read and written."""
