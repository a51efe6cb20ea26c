"""Tenants, keys, domains and templates in the relational store."""
