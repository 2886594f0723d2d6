"""How fast the integrity processor is, beside what Kafka alone allows: `make bench`."""
