"""The first of the chain: knows what things cost."""

PRICES = {"tea": 3, "coffee": 4, "cake": 5}


def process(event):
    """Turn {"item", "quantity"} into {"item", "net"}."""
    order = event.data
    return {"item": order["item"], "net": PRICES[order["item"]] * order["quantity"]}
