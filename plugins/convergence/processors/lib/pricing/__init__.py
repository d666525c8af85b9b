"""Price books, their editions, and the pricing of usage in the warehouse."""
