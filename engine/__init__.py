"""Everything that touches the world: stores, consumers, servers, commands. One folder a part."""
