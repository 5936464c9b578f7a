"""Access control: readable folders, bearer tokens and OAuth."""
