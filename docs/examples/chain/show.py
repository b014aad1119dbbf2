"""The last of the chain: says it in words."""


def process(event):
    """Turn {"item", "gross"} into a sentence."""
    text = f"{event.data['item']} for {event.data['gross']:.2f}"
    print(text)
    return text
