"""Parse, call one operation, render as text or JSON, choose the exit code. A verb's module is imported when the verb is used."""
