"""Answers each order with a receipt."""


def process(event, context):
    order = event.data
    total = order["quantity"] * order["price"]
    context.logger.info("%s x %s for %s", order["quantity"], order["item"], order["name"])
    return {"to": order["name"], "text": f"Thank you, {order['name']}!", "total": total}
