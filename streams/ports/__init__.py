"""What the agents need from the outside world, as protocols: a module for each part of that world.

Agents and gateways meet here and nowhere else: an agent never names Kafka, Faust, Postgres or ccxt.
"""
