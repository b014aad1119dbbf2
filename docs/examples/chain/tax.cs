// The second of the chain: adds the tax.

public record Priced(string Item, decimal Net);

public class Tax
{
    const decimal Rate = 0.2m;

    public object Process(Priced order) => new { order.Item, Gross = order.Net * (1 + Rate) };
}
