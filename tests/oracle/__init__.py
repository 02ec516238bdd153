"""An independent reading of docs/rules/fills.md, to hold the product's engine against."""
